/** What the tests of this package use, in one place. */
export { Location } from "@coppice/merkle"
export * from "../../src/index.ts"
