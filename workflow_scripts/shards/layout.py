"""Names, types and version of what a shard holds (see docs/shards.md)."""

FORMAT = "orbweaver-shard"
FORMAT_VERSION = 2
OLDEST_VERSION = 2  # 1 kept the columns of chips in a group of their own

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

# Chips: physical value = (count - offset) * scale, by chip and band. Any other dataset along the
# dimension `chip` is a column: what is known of each chip (row, column, latitude, time, …).
COUNTS = "counts"  # uint16 (n, bands, height, width)
SCALE = "scale"  # float64 (n, bands)
OFFSET = "offset"  # float64 (n, bands)
FILLED = "filled"  # uint8 (n, bands, height): 1 where a line was interpolated
MAX_COUNT = 32767  # above it a pixel has no value, and its count tells why

# Dimensions of chips, each with its coordinates under the same name, as netCDF has them.
CHIP, BAND, Y, X, CORNER = "chip", "band", "y", "x", "corner"
DIMENSIONS = (CHIP, BAND, Y, X, CORNER)
CORNERS = ("upper left", "upper right", "lower right", "lower left")
NOT_COLUMNS = {*DIMENSIONS, KEYS, LABELS, SPLITS, CRC32, COUNTS, SCALE, OFFSET, FILLED}

SPLIT_NAMES = ("train", "val", "test")
