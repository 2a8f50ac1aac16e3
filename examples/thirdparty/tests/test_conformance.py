from perdure_conformance import Conformance


class TestLmdb(Conformance):
    target = "lmdb://"
