// Package netsim is a network for tests in simulated time: model TCP endpoints with applications, and links that lose,
// duplicate, reorder and corrupt frames. It starts no goroutine and reads no clock: frames, the time and seeded randomness
// go in, frames come out, and the same seed gives the same run.
//
// An Endpoint is a plain TCP written from the RFCs (9293, 5681, 6298, 7323, 2018, 5961). It shares no code with the
// gateway's TCP, because it judges what the gateway does. The octets that it sends are a function of their number: so it
// stores no stream, and notices the first wrong octet. It knows nothing of gateways, flows or mail.
//
// Start with Endpoint in endpoint.go, then receive.go and send.go; its application is in script.go.
package netsim
