/**
 * Goal: the state-sync scenarios hold every property, and contain what they intend (P-16).
 * Method: see matrix.ts.
 */
import { checkGroup } from "./matrix.ts"

checkGroup("state-sync")
