// Package evidence keeps the first packets of rejected connections, so that every rejection can be explained later. A Memory
// holds the latest packets of connections without a verdict. If the verdict calls for it, they go to a Keeper, which writes
// pcapng files within bounds of size, number and age. The package makes no decisions.
package evidence
