"""Where thinning was; see `data.thinning`."""

from maskwright.data.thinning import thin as thin
