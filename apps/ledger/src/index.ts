/** Public surface of the ledger: the chain, its API and what a wallet needs. */
export * from "./api.ts"
export * from "./handlers.ts"
export * from "./ledger.ts"
export * from "./limits.ts"
export * from "./proof.ts"
export * from "./submission.ts"
export * from "./transfer.ts"
