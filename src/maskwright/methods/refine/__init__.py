"""The mask refiner of SUM: soft mask, box and click in, a mask closer to what people draw out."""
