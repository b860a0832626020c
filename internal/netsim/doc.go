// Package netsim is a network for tests, all of it in simulated time: model TCP endpoints with an application on top,
// and links that lose, repeat, reorder and corrupt what they carry. It starts no goroutine and reads no clock: frames,
// the time and seeded randomness go in, frames come out, and the same seed gives the same run.
//
// An Endpoint is TCP written down plainly from its RFCs (9293, 5681, 6298, 7323, 2018, 5961), with nothing shared with
// the gateway's own TCP: it is the judge of what the gateway does. What it sends is a function of the octet's number, so
// that it stores no stream and notices the first octet that is not in its place. It knows nothing of gateways, flows or
// mail.
//
// Start with Endpoint in endpoint.go, then receive.go and send.go; what its application does is in script.go.
package netsim
