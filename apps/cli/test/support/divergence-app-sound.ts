/** The application of the replay test as it should be. */
import { makeCounters } from "./divergence-app.ts"

export const sound = makeCounters(0n)
