/**
 * Sizes of rows, of slices and of the sweep: what could be another number without changing any root or proof.
 *
 * Invariant: row sizes are part of the stored format; changing one is a new version of the head row.
 */

/** Bytes of a full row: one 4,096-byte page of LMDB less its 16-byte header, so that a row fills one overflow page. */
export const ROW_BYTES = 4080

/** Operations of one row in the variable encoding. */
export const PACKED_OPERATIONS = 32

/** Keys, slots or locations handled between two points at which sealing or flushing may pause. */
export const SLICE_ITEMS = 512

/** Flushes that one round of the sweep takes at most, so that small flushes carry small shares. */
export const ROUND_FLUSHES = 64

/**
 * Bytes of a page of activity in memory, or of one record where that is longer. Smaller pages cost more objects, larger
 * ones more copying by each layer.
 */
export const PAGE_BYTES = 4096
