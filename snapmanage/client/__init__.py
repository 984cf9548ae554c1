"""The client commands of `snapmanage`, for any Block Storage API. No service imports them."""
