"""Names, types and version of what a shard holds (see docs/shards.md)."""

FORMAT = "orbweaver-shard"
FORMAT_VERSION = 1

IMAGES = "images"
CHIPS = "chips"

# Every shard, one row a sample.
KEYS = "keys"  # UTF-8 text: where the sample came from
LABELS = "labels"  # int32: index into the attribute `classes`, or -1
SPLITS = "splits"  # int8: index into the attribute `split_names`, or -1
CRC32 = "crc32"  # uint32: of the sample's bytes as stored

# Images: one contiguous pool of encoded files.
POOL = "pool"  # uint8
OFFSETS = "offsets"  # int64, one more than samples: sample i is pool[offsets[i]:offsets[i + 1]]
SIZES = "sizes"  # int32 (n, 2): height, width

# Chips: physical value = (count - offset) * scale, by chip and band.
COUNTS = "counts"  # uint16 (n, bands, height, width)
SCALE = "scale"  # float64 (n, bands)
OFFSET = "offset"  # float64 (n, bands)
CHIP_FIELDS = "fields"  # group: one dataset a column (row, column, latitude, longitude, …)

SPLIT_NAMES = ("train", "val", "test")
