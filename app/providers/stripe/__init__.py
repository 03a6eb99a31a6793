"""The Stripe adapter: real SDK, pure I/O; Stripe's words and amounts end at this package's border."""

from app.providers.stripe.adapter import API_VERSION, StripeProvider

__all__ = ["API_VERSION", "StripeProvider"]
