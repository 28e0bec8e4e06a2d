/** Public surface of the ledger for those who run it: the chain, its transfers and its API. Wallets use `./wallet`. */
export * from "./api.ts"
export { deskOf, type LedgerNode, ledgerHandlers } from "./handlers.ts"
export * from "./ledger.ts"
export * from "./limits.ts"
export * from "./state.ts"
export * from "./submission.ts"
export * from "./transfer.ts"
export * from "./wire.ts"
