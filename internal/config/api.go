package config

import (
	"errors"
	"fmt"
	"path/filepath"
)

// API says where the control API can be reached, apart from the lock's own socket.
type API struct {
	Socket, AdminSocket string // absolute paths; empty: in the service's runtime directory, if there is one; NoFile: none
	Group, AdminGroup   string // who may connect; empty: the process's own group, and nobody else
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
