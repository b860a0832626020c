package netenv

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// Sysctl is a file under /proc/sys and the value that hushgate needs.
type Sysctl struct {
	Path string // net/ipv4/ip_forward
	Want string
	Why  string
}

// Sysctls lists what a gateway with the chosen interfaces needs.
func Sysctls(c *Chosen) []Sysctl {
	list := []Sysctl{{"net/ipv4/ip_forward", "1", "the servers' other traffic goes through this machine"}}
	for _, a := range c.Services {
		if a.Addr().Is6() {
			list = append(list, Sysctl{"net/ipv6/conf/all/forwarding", "1", "the servers' other traffic goes through this machine"})
			break
		}
	}
	for _, o := range c.Outside {
		for _, i := range c.Inside {
			if o.Index == i.Index {
				list = append(list,
					Sysctl{"net/ipv4/conf/all/send_redirects", "0", "servers must not be told to bypass this machine"},
					Sysctl{"net/ipv4/conf/" + i.Name + "/send_redirects", "0", "servers must not be told to bypass this machine"})
			}
		}
	}
	return list
}

func (s Sysctl) file() string { return "/proc/sys/" + s.Path }

// Name returns the name in sysctl(8)'s syntax.
func (s Sysctl) Name() string { return sysctlName(s.Path) }

// sysctlName writes a path below /proc/sys as sysctl(8) does: with dots for its slashes, and a slash for the dot in the name of
// a VLAN's interface.
func sysctlName(path string) string { return strings.NewReplacer("/", ".", ".", "/").Replace(path) }

// Get reads the present value.
func (s Sysctl) Get() (string, error) {
	b, err := os.ReadFile(s.file())
	if err != nil {
		return "", fmt.Errorf("read %s: %w", s.Name(), err)
	}
	return string(bytes.TrimSpace(b)), nil
}

// Set writes a value.
func (s Sysctl) Set(value string) error {
	if err := os.WriteFile(s.file(), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set %s: %w", s.Name(), err)
	}
	return nil
}

// Warnings describes the sysctls that do not have the value they should have.
func Warnings(list []Sysctl) (words []string) {
	for _, s := range list {
		if v, err := s.Get(); err != nil {
			words = append(words, err.Error())
		} else if v != s.Want {
			words = append(words, fmt.Sprintf("%s is %s, should be %s: %s", s.Name(), v, s.Want, s.Why))
		}
	}
	return words
}
