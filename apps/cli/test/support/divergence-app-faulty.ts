/** The application of the replay test with a planted bug. */
import { makeCounters } from "./divergence-app.ts"

export const faulty = makeCounters(1n)
