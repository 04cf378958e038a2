"""Model bundles: open and verify one (bundle.py), its manifest, and the golden data that proves an engine.

Enter by `bundle.open_bundle`.
"""
