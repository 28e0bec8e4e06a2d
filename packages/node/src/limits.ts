/** Limits of the node package. */

/** Heights from one prune of the databases to the next, unless the composer of a node says otherwise. */
export const PRUNE_INTERVAL = 256
/** Finalized blocks that a node keeps for its peers to fetch, unless its composer says otherwise. */
export const MARSHAL_BLOCKS = 16_384
/** Time that a node whose state sync was cut off waits for a newer floor than the one it has recorded. */
export const FLOOR_RENEWAL_MS = 10_000

/** Largest config.json and holder file that are read, in bytes. */
export const CONFIG_BYTES_MAX = 64 * 1024

/** Bytes of a request body, unless the composer of a node says otherwise. */
export const HTTP_BODY_BYTES_MAX = 64 * 1024
/** Bytes of the request line and all headers of one request. */
export const HTTP_HEADER_BYTES_MAX = 16 * 1024
/** Connections of one server; further ones are closed at once. */
export const HTTP_CONNECTIONS_MAX = 256
/** Time in which a client must have sent a whole request. */
export const HTTP_REQUEST_MS_MAX = 10_000
/** Time that requests under way get when a server stops; connections still open then are cut. */
export const HTTP_SHUTDOWN_MS_MAX = 1_000
/** Issues reported for one malformed request. */
export const HTTP_ISSUES_MAX = 8
