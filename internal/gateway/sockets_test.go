package gateway

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hushgate/internal/admin"
	"hushgate/internal/config"
	"hushgate/internal/runtimeapi"
)

// TestAPISockets: which sockets there are, and who may use them.
func TestAPISockets(t *testing.T) {
	for _, c := range []struct {
		c       config.API
		runtime string
		want    []apiSocket
	}{
		{config.API{}, "", nil},
		{config.API{}, "/run/hushgate:/run/other", []apiSocket{
			{path: "/run/hushgate/api.sock", level: admin.ReadOnly, mode: 0o660}, {path: "/run/hushgate/admin.sock", level: admin.Admin, mode: 0o600},
		}},
		{config.API{Socket: "/a", Group: "g", AdminSocket: "/b", AdminGroup: "h"}, "/run/hushgate", []apiSocket{
			{path: "/a", level: admin.ReadOnly, group: "g", mode: 0o660}, {path: "/b", level: admin.Admin, group: "h", mode: 0o660},
		}},
		{config.API{Socket: "none", AdminSocket: "none"}, "/run/hushgate", nil},
	} {
		var got []apiSocket
		for _, s := range apiSockets(&c.c, c.runtime) {
			got = append(got, *s)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v, %q: %+v", c.c, c.runtime, got)
		}
	}
}

// TestSocketsLife: a socket has its permissions, takes the place of one whose process is gone, and no other file's; it is
// handed over without a gap, and removed at the end.
func TestSocketsLife(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", "")
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	cfg := &config.Config{Global: config.Global{API: config.API{Socket: filepath.Join(dir, "r"), AdminSocket: path}}}
	open := func() (*gateway, error) {
		g := &gateway{cfg: cfg}
		return g, g.openSockets(nil)
	}
	g, err := open()
	if err != nil {
		t.Fatal(err)
	}
	for file, mode := range map[string]os.FileMode{"s": 0o600, "r": 0o660} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("twice: %v", err)
	}

	// A client that connects before the takeover is answered after it.
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	h := &successor{}
	for _, s := range g.sockets {
		f, err := s.l.(*net.UnixListener).File()
		if err != nil {
			t.Fatal(err)
		}
		if err := h.inherit(s.path, f); err != nil {
			t.Fatal(err)
		}
	}
	next := &gateway{cfg: &config.Config{Global: config.Global{API: config.API{AdminSocket: path, Socket: filepath.Join(dir, "new")}}}, successor: h}
	if err := next.openSockets(h.apis); err != nil {
		t.Fatal(err)
	}
	if len(h.apis) != 1 || h.apis[filepath.Join(dir, "r")] == nil {
		t.Errorf("left over: %v", h.apis)
	}
	g.given = true
	if err := g.closeSockets(); err != nil {
		t.Error(err)
	}
	for _, s := range next.sockets {
		if s.path != path {
			continue
		}
		c, err := s.l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	_ = client.Close()

	// If the takeover fails, the new process leaves what it has inherited.
	if err := next.closeSockets(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !os.IsNotExist(err) {
		t.Errorf("a socket of its own is left: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("an inherited socket is gone: %v", err)
	}
	if err := h.apis[filepath.Join(dir, "r")].Close(); err != nil {
		t.Error(err)
	}

	again, err := open() // the files of processes that are gone are there
	if err != nil {
		t.Fatal(err)
	}
	if err := again.closeSockets(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after the end: %v", err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err = open()
	if err == nil || !strings.Contains(err.Error(), "the file exists and is not a socket") {
		t.Errorf("another file: %v", err)
	}
	if err := g.closeSockets(); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); string(text) != "mine" {
		t.Errorf("the file has %q, %v", text, err)
	}
	cfg.Global.API = config.API{Socket: filepath.Join(dir, "r"), Group: "no-such-group"}
	if _, err = open(); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("a group that does not exist: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "r")); !os.IsNotExist(err) {
		t.Errorf("a socket without its permissions is left: %v", err)
	}
}

// TestStatsSockets: sockets for HAProxy's commands have their permissions; one that cannot be opened does not keep the gateway from
// running.
func TestStatsSockets(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", "")
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	none := config.API{Socket: config.NoFile, AdminSocket: config.NoFile}
	var log strings.Builder
	g := &gateway{log: slog.New(slog.NewTextHandler(&log, nil)), cfg: &config.Config{Global: config.Global{API: none, Stats: config.Stats{Sockets: []config.StatsSocket{
		{Path: path, Level: "admin", Mode: 0o640}, {Path: filepath.Join(dir, "no", "s"), Level: "user"}, {Path: path + "2", Group: "no-such-group", Level: "user"},
	}}}}}
	if err := g.openSockets(nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	if list := g.statsListeners(); len(list) != 1 || list[0].Level != runtimeapi.Admin || len(g.listeners()) != 0 {
		t.Errorf("%v", list)
	}
	if strings.Count(log.String(), "a stats socket is not served") != 2 {
		t.Errorf("%s", log.String())
	}
	if err := g.closeSockets(); err != nil {
		t.Error(err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}
