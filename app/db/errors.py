"""Maps SQLSTATEs and constraint names to domain errors; database messages are never matched and never shown."""

from __future__ import annotations

import psycopg

from app import errors

# Two transactions in each other's way: the lock order makes these rare, not impossible.
CONFLICT = frozenset({"40001", "40P01"})
# Rerun the whole transaction: for a conflict, and where a table has changed since this session prepared its statement.
# What PostgreSQL cannot do at all has the same code, and is the same after every rerun.
RERUN = CONFLICT | {"0A000"}

_BY_SQLSTATE: dict[str, type[errors.PostboxError]] = {
    "PB001": errors.IllegalTransition,
    "PB002": errors.ActorRefused,
    "PB003": errors.ActorMissing,
    "PB004": errors.IllegalTransition,
    "PB005": errors.TakesTwo,
    "55P03": errors.Busy,
    "57014": errors.TooSlow,
    "25P03": errors.TooSlow,
    "25P04": errors.TooSlow,
    "40001": errors.Busy,
    "40P01": errors.Busy,
}

_BY_CONSTRAINT: dict[str, type[errors.PostboxError]] = {
    "proposals_maker_is_not_checker": errors.SamePerson,
    "operations_one_open_per_payment": errors.OperationOpen,
    "payments_provider_currency_fkey": errors.AmountRefused,
    "payments_retry_of_is_the_merchants_own": errors.NotFound,
    "discrepancies_write_off_moves_something": errors.NothingToWriteOff,
    "ledger_balances_spend_what_is_there": errors.NotEnough,
    "ledger_balances_are_not_written_off_beyond_the_debt": errors.OverDebt,
    "merchant_payouts_wait_for_balanced_books": errors.BooksOutOfBalance,
    "merchant_payouts_bank_line_pays_once": errors.BankLineUsed,
}

# The server is not able to, and nobody's request is to blame: connection trouble (class 08), shutdown and start-up
# (57P01-57P05), too many connections, a full disk or no memory (class 53), a disk that fails (class 58).
_DOWN = ("08", "57P", "53", "58")


def without_rows(text: str, error: BaseException) -> str:
    """`text` about `error` without the DETAIL that PostgreSQL adds to its message: it holds whole rows."""
    chain: list[BaseException] = [error]
    for link in chain:
        if isinstance(link, psycopg.Error) and link.diag.message_primary:
            text = text.replace(str(link), link.diag.message_primary)
        chain += [near for near in (link.__cause__, link.__context__) if near is not None and near not in chain]
    return text


def domain_error(error: psycopg.Error) -> errors.PostboxError:
    """The domain error for a psycopg error, chained to nothing that holds row contents."""
    state = error.sqlstate
    if state is None:
        return errors.DatabaseDown() if isinstance(error, psycopg.OperationalError) else errors.ConstraintViolated()
    if state in _BY_SQLSTATE:
        return _BY_SQLSTATE[state]()
    if state.startswith(_DOWN):
        return errors.DatabaseDown()
    constraint = error.diag.constraint_name
    if constraint in _BY_CONSTRAINT:
        return _BY_CONSTRAINT[constraint]()
    return errors.ConstraintViolated(constraint=constraint, sqlstate=state)
