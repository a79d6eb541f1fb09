from milepost.testing.stores import StorageContract, StoreContract


class TestFolderStorage(StorageContract):
    pass


class TestStore(StoreContract):
    pass
