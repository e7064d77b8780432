"""The operator's commands. They talk to etcd and work with every service stopped."""
