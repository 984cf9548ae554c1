"""The commands, each a class of cliff, for the program `snapmanage` and for the plugin of `openstack`."""
