// Package evidence keeps the first packets of connections that were rejected, so that every rejection can be explained
// afterwards. A Memory has the latest packets of those that are not judged yet; what a verdict calls for goes to a Keeper,
// which writes pcapng files within bounds of size, number and age. It decides nothing.
package evidence
