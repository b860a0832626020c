package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// API says where the control API can be reached, apart from the lock's own socket.
type API struct {
	Socket, AdminSocket string // absolute paths; empty: in the service's runtime directory, if there is one; NoFile: none
	Group, AdminGroup   string // who may connect; empty: the process's own group, and nobody else
}

// RemoteAPI says where the control API can be reached over TCP, and how its clients prove who they are.
type RemoteAPI struct {
	Listen      string   `json:",omitempty"` // an address and port; empty: nowhere
	Crt         string   `json:",omitempty"` // our certificate, its chain and its key, in one file; empty: no TLS
	CAFile      string   `json:",omitempty"` // certificates of the authorities of clients; empty: clients need no certificate
	AdminNames  []string `json:",omitempty"` // names in certificates whose clients may do everything
	Tokens      string   `json:",omitempty"` // a file of the tokens of clients that only look; empty: none
	AdminTokens string   `json:",omitempty"` // a file of the tokens of clients that may do everything; empty: none
	Page        string   `json:",omitempty"` // who is shown the page: PageSignedIn, PageEveryone, or empty: nobody
}

// Who is shown the page.
const (
	PageSignedIn = "signed-in"
	PageEveryone = "everyone" // who has not signed in may look, and do nothing
)

// remoteAPITable makes the settings of the control API over TCP.
func remoteAPITable() []setting[rawGlobal] {
	file := func(key, about string, field func(*RemoteAPI) *string) setting[rawGlobal] {
		return setting[rawGlobal]{key: key, about: about, otherwise: "none", kind: text(func(g *rawGlobal) *string {
			return field(&g.RemoteAPI)
		}, "", "the absolute path of a file", checkPath)}
	}
	return []setting[rawGlobal]{
		{
			key: "api.listen", about: "the address and port at which the control API is served over TCP", otherwise: "none",
			kind: ofNode(func(r *yamlReader, g *rawGlobal, key string, node ast.Node) {
				s := r.checked(key, "an address and port such as 127.0.0.1:9164, or none", node, listener("a client"))
				if g.lines["api.listen"] = s.line; s.value != NoFile {
					g.RemoteAPI.Listen = s.value
				}
			}),
		},
		file("api.crt", "the file of the certificate, its chain and its key", func(a *RemoteAPI) *string { return &a.Crt }),
		file("api.ca-file", "certificates of the authorities that sign those of clients", func(a *RemoteAPI) *string { return &a.CAFile }),
		{
			key: "api.admin-names", about: "a name or a list of names", otherwise: "none",
			kind: ofNode(func(r *yamlReader, g *rawGlobal, key string, node ast.Node) {
				g.lines["api.admin-names"] = lineOf(node)
				r.list(key, node, true, func(item ast.Node) {
					if s := r.checked(key, "a name in a client's certificate", item, checkCertified); s.set() {
						g.RemoteAPI.AdminNames = append(g.RemoteAPI.AdminNames, s.value)
					}
				})
			}),
		},
		file("api.token-file", "the file of the tokens of clients that may look", func(a *RemoteAPI) *string { return &a.Tokens }),
		file("api.admin-token-file", "the file of the tokens of clients that may do everything", func(a *RemoteAPI) *string { return &a.AdminTokens }),
		{
			key: "api.page", about: "who is shown the page for browsers", otherwise: "none",
			kind: ofNode(func(r *yamlReader, g *rawGlobal, key string, node ast.Node) {
				s := r.checked(key, "none, "+PageSignedIn+" or "+PageEveryone, node, checkPage)
				if g.lines["api.page"] = s.line; s.value != NoFile {
					g.RemoteAPI.Page = s.value
				}
			}),
		},
	}
}

// listener returns what checks an address and port at which one kind of client finds the gateway; "none" means nowhere.
func listener(client string) func(string) error {
	return func(s string) error {
		if s == NoFile {
			return nil
		}
		a, err := netip.ParseAddrPort(s)
		switch {
		case err != nil:
			return errors.New("the address must be a number, and the port too")
		case a.Port() == 0:
			return fmt.Errorf("port 0 is none that %s could know", client)
		}
		return nil
	}
}

func checkPage(s string) error {
	if s != NoFile && s != PageSignedIn && s != PageEveryone {
		return errors.New("there is no such word")
	}
	return nil
}

func checkPath(s string) error {
	switch {
	case !filepath.IsAbs(s):
		return errors.New("it is not absolute")
	case filepath.Clean(s) != s:
		return errors.New("it is not the path of a file")
	}
	return nil
}

func checkCertified(s string) error {
	if s == "" || strings.TrimSpace(s) != s || len(s) > 255 {
		return errors.New("a name has 1 to 255 characters, and no space around them")
	}
	return nil
}

// checkRemoteAPI looks at the settings of the API over TCP together.
func (r *resolver) checkRemoteAPI() {
	a, lines := &r.cfg.Global.RemoteAPI, r.raw.global.lines
	if a.Listen == "" {
		for _, key := range []string{"api.crt", "api.ca-file", "api.admin-names", "api.token-file", "api.admin-token-file", "api.page"} {
			if lines.set(key) {
				r.note(lines[key], "%s has no effect without api.listen", key)
			}
		}
		return
	}
	at, err := netip.ParseAddrPort(a.Listen)
	if err != nil {
		return // which was reported
	}
	line := lines["api.listen"]
	if a.Crt == "" && !at.Addr().Unmap().IsLoopback() {
		r.wrong(line, "listen", "api.crt is missing: only on a loopback address such as 127.0.0.1 may clients send their token without TLS")
	}
	open := a.Page == PageEveryone
	if open && !at.Addr().Unmap().IsLoopback() {
		r.wrong(lines["api.page"], "page", "everyone may look only on a loopback address such as 127.0.0.1: expected %s, or another api.listen", PageSignedIn)
	}
	if a.CAFile == "" && a.Tokens == "" && a.AdminTokens == "" && !open {
		r.wrong(line, "listen", "needs api.ca-file, api.token-file or api.admin-token-file: without them nobody could prove who he is")
	}
	if a.CAFile != "" && a.Crt == "" {
		r.wrong(lines["api.ca-file"], "ca-file", "api.crt is missing: clients show a certificate only in TLS")
	}
	if len(a.AdminNames) > 0 && a.CAFile == "" {
		r.wrong(lines["api.admin-names"], "admin-names", "api.ca-file is missing: without it no client's certificate counts")
	}
	if a.Tokens != "" && a.Tokens == a.AdminTokens {
		r.wrong(lines["api.admin-token-file"], "admin-token-file", "is api.token-file too, and each token has one level")
	}
	for i := range r.cfg.Frontends {
		for _, b := range r.cfg.Frontends[i].Binds {
			if b.Port == at.Port() && (b.Addr == at.Addr().Unmap() || at.Addr().IsUnspecified()) {
				r.wrong(line, "listen", "%s is where frontend %s takes its clients", a.Listen, r.cfg.Frontends[i].Name)
			}
		}
	}
}

// apiTable makes the settings of the control API.
func apiTable() []setting[rawGlobal] {
	return []setting[rawGlobal]{
		{
			key: "api.socket", about: "for clients that only look", otherwise: "`api.sock` in the runtime directory",
			kind: text(func(g *rawGlobal) *string { return &g.API.Socket }, "", "the absolute path of a socket, or none", checkSocket),
		},
		{
			key: "api.group", about: "the group whose members may use it", otherwise: "the process's own group",
			kind: text(func(g *rawGlobal) *string { return &g.API.Group }, "", "the name of a group", checkGroup),
		},
		{
			key: "api.admin-socket", about: "for clients that may do everything", otherwise: "`admin.sock` in the runtime directory",
			kind: text(func(g *rawGlobal) *string { return &g.API.AdminSocket }, "", "the absolute path of a socket, or none", checkSocket),
		},
		{
			key: "api.admin-group", about: "the group whose members may use it", otherwise: "none: root and hushgate's own user",
			kind: text(func(g *rawGlobal) *string { return &g.API.AdminGroup }, "", "the name of a group", checkGroup),
		},
	}
}

// maxSocketPath is how long the path of a unix socket may be (unix(7)).
const maxSocketPath = 107

func checkSocket(s string) error {
	switch {
	case s == NoFile:
		return nil
	case !filepath.IsAbs(s):
		return errors.New("it is not absolute")
	case len(s) > maxSocketPath:
		return fmt.Errorf("longer than %d octets, the longest path of a socket", maxSocketPath)
	case filepath.Clean(s) != s:
		return errors.New("it is not the path of a file")
	}
	return nil
}

func checkGroup(s string) error {
	if s == "" || len(s) > 32 {
		return errors.New("a group's name has 1 to 32 characters")
	}
	for _, c := range s {
		if !isNameRune(c) && c != '-' && c != '.' {
			return errors.New("a group's name has letters, digits, \"-\", \"_\" and \".\"")
		}
	}
	return nil
}
