"""Image messages and files to arrays, without copying where the layout allows. Enter by `read.ImageReader`."""
