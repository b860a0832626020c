package metrics

import (
	"net"
	"net/http"

	"hushgate/internal/crowd"
)

// guest is a client's connection.
type guest struct {
	net.Conn
	place crowd.Place
}

// guestKey is the key of the connection in a request's context.
type guestKey struct{}

// gate admits connections: clients that hang cannot keep others out.
type gate struct {
	net.Listener
	room *crowd.Crowd
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		n := &guest{Conn: c}
		if g.room.Admit(&n.place, n) {
			return n, nil
		}
		_ = c.Close()
	}
}

// served has a handler work for clients that keep their places meanwhile. The answer's octets are the client's to take: one that does
// not may lose its place.
func served(room *crowd.Crowd, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := r.Context().Value(guestKey{}).(*guest)
		if !room.Begin(&n.place) {
			return
		}
		defer room.End(&n.place)
		next.ServeHTTP(&answer{w, func() { room.End(&n.place) }}, r)
	})
}

// answer is an answer whose header and octets are sent when all of the work for it has been done.
type answer struct {
	http.ResponseWriter
	ready func()
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.ready()
	return a.ResponseWriter.Write(p)
}
