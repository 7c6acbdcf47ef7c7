"""To the device: files in other formats, each opened, run and compared before it is called done."""
