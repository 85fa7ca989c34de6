"""The shop's reference services: Orders -> Payments -> Fraud check -> Bank, and beside them
Inventory, Email and Recommendations.

Each is one short Flask module with an ``app`` to serve and a ``create_app(...)`` to set it up
another way; each works alone, or calls the next one when given its address:

    serve(payments.app)                                             # in this kernel
    serve("helpers.shop.payments:create_app(work_seconds=0.4)")     # in a process of its own

The description of a running service is at ``/openapi.json``.
"""
