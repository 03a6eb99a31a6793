// The page has no inline script, so that the policy on scripts needs no exception.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  presets: [SwaggerUIBundle.presets.apis],
  deepLinking: true,
  // A validator elsewhere would be told of every reader.
  validatorUrl: null,
});
