"""Fakes that ship with the library, for its own tests and for those of plug-ins.

Each is held to the contract of the real thing by a suite in tests/contract. Import them from their
modules (`modelserver.testing.clock`, …), so that a test of one part does not pull in the others.
Nothing here runs in production.
"""
