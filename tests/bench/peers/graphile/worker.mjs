// graphile-worker on the same step, with the settings of its documentation's "Performance": a local queue of 500, 24 jobs at
// once, completion in batches.
import { Logger, run, runMigrations } from "graphile-worker";
import pg from "pg";

const CONCURRENCY = 24;
const pool = new pg.Pool({
  connectionString: process.env.PEER_URL,
  max: CONCURRENCY + 4,
  options: "-c search_path=postbox,procrastinate",
});
if (process.argv[2] === "migrate") {
  await runMigrations({ pgPool: pool });
  await pool.end();
  process.exit(0);
}
const runner = await run({
  pgPool: pool,
  taskList: {
    local: async (payload) => {
      await pool.query({
        name: "deliver",
        text: "select bench_deliver($1::uuid, $2::uuid)",
        values: [payload.merchant_id, payload.event_id],
      });
    },
  },
  // a line for every task would be measured too
  logger: new Logger(() => () => {}),
  preset: {
    worker: {
      concurrentJobs: CONCURRENCY,
      localQueue: { size: 500, ttl: 60000, refetchDelay: { durationMs: 50 } },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
});
console.log("ready");
await runner.promise;
