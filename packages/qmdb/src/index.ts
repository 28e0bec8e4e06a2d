/** Public surface of the database package. */
export * from "./errors.ts"
export * from "./limits.ts"
export * from "./member.ts"
