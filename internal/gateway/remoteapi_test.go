package gateway

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/config"
	"hushgate/internal/unusedport"
)

// TestRemoteHandedOver: a client over TCP that connects before a takeover is answered after it, and the address is never without
// a listener. A new process that fails leaves the old one its listener.
func TestRemoteHandedOver(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", "")
	for _, host := range []string{"127.0.0.1", "::1"} {
		address := net.JoinHostPort(host, unusedport.Pick(t))
		secret := strings.Repeat("secret", 6)
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := &config.Config{Global: config.Global{API: config.API{Socket: "none", AdminSocket: "none"}, RemoteAPI: config.RemoteAPI{Listen: address, Tokens: path}}}
		begin := func(inherited map[string]net.Listener) *gateway {
			g := &gateway{cfg: cfg, log: slog.New(slog.DiscardHandler)}
			g.api = admin.New(admin.Options{Gateway: control{g}, Log: g.log})
			if err := g.prepareRemote(); err != nil {
				t.Fatal(err)
			}
			if err := g.openSockets(inherited); err != nil {
				t.Fatal(err)
			}
			return g
		}
		serve := func(g *gateway) (end func()) {
			ctx, cancel := context.WithCancel(t.Context())
			over := make(chan error, 1)
			go func() { over <- g.api.Serve(ctx) }()
			g.remote.Commit()
			return func() {
				cancel()
				if err := <-over; err != nil {
					t.Error(err)
				}
				if err := g.closeSockets(); err != nil {
					t.Error(err)
				}
			}
		}
		ask := func() error {
			q, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+"/v1/openapi.yaml", nil)
			if err != nil {
				return err
			}
			q.Header.Set("Authorization", "Bearer "+secret)
			a, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}).Do(q)
			if err != nil {
				return err
			}
			defer func() { _ = a.Body.Close() }()
			_, err = io.ReadAll(a.Body)
			return err
		}
		heirTo := func(g *gateway) *successor {
			l, at := g.api.RemoteListener()
			f, err := l.File()
			if err != nil {
				t.Fatal(err)
			}
			h := &successor{}
			if err := h.inherit(remoteScheme+at, f); err != nil {
				t.Fatal(err)
			}
			return h
		}
		g := begin(nil)
		end := serve(g)
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		h := heirTo(g)
		failed := begin(h.apis)
		if len(h.apis) > 0 {
			t.Errorf("left over: %v", h.apis)
		}
		if err := failed.closeSockets(); err != nil {
			t.Error(err)
		}
		if err := ask(); err != nil {
			t.Errorf("after a takeover that failed: %v", err)
		}
		next := begin(heirTo(g).apis)
		end()
		waits := make(chan error, 1)
		go func() { waits <- ask() }()
		stop := serve(next)
		if err := <-waits; err != nil {
			t.Errorf("during the takeover: %v", err)
		}
		stop()
		if c, err := net.Dial("tcp", address); err == nil {
			t.Error("after the end somebody listens")
			_ = c.Close()
		}
	}
}
