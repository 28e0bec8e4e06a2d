/** Public surface of the consensus package: coordinates, blocks, the executor port. */
export * from "./block.ts"
export * from "./coordinates.ts"
export * from "./port.ts"
