"""Programs that check this repository; the package snapmanage does not contain them."""
