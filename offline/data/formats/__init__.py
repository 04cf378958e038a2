"""Label formats, a file each: what each takes from disk, as `annotations.Annotations`. Enter by `offline.data.read`."""
