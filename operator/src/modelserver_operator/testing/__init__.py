"""Fakes that ship with the operator, for its own tests.

Each is held to the contract of the real thing by a suite that runs on both. Import them from their
modules, so that a test of one part does not pull in the others. Nothing here runs in production.
"""
