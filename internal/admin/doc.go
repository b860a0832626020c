// Package admin is the control API: HTTP and JSON on unix sockets and, if the configuration says so, on TCP with TLS. It
// shows what the gateway does and has it act. openapi.yaml describes every resource; a test compares it with the server.
//
// The package knows HTTP, levels and limits. It does not know how the gateway works: it asks a Gateway, and it is that
// interface's implementation which keeps a question from taking a shard's time.
//
// Start with the table of routes in routes.go. resources.go has what the API shows, gateway.go what it asks for.
package admin
