package config

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// rawBind is one address and port of a bind line.
type rawBind struct {
	Bind
	line int
	text string // as it was written
}

// bind handles `bind ADDR:PORT[,...] [SETTINGS]`.
func (p *haproxyParser) bind(args []string, _ bool) {
	given := p.bindSettings(args[1:])
	for _, address := range strings.Split(args[0], ",") {
		binds, err := parseBind(address)
		if err != nil {
			p.add(Error{Line: p.line, Keyword: "bind", Expected: "[ADDR]:PORT", Found: quote(address), Reason: err.Error()})
			continue
		}
		for _, b := range binds {
			b.Interface = given["interface"]
			// The socket of ipv6@: is one of [::], which takes IPv4 as well. HAProxy lets v6only win over v4v6 in any
			// order, and an address that is IPv4's alone knows neither.
			b.AnyFamily = b.AnyFamily || b.Addr == netip.IPv6Unspecified()
			if _, only6 := given["v6only"]; only6 {
				b.AnyFamily = false
			}
			p.proxy.binds = append(p.proxy.binds, rawBind{b, p.line, address})
		}
	}
}

// bindSettings reads what follows the address. As in serverSettings, it goes on behind a word that it does not take.
func (p *haproxyParser) bindSettings(args []string) (given map[string]string) {
	given = map[string]string{}
	var refused refusals
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if !knownBindWord(word) {
			near := p.unknown(p.line, "bind", word, "setting", slices.Sorted(maps.Keys(bindSettings)))
			if near == "" {
				if i := slices.IndexFunc(args, knownBindWord); i >= 0 {
					args = args[i:]
					continue
				}
				break
			}
			word = near
		}
		args = p.bindSetting(given, &refused, word, args)
	}
	refused.report(p, "bind")
	return given
}

// bindSetting reads one setting with its values, and returns the words behind it.
func (p *haproxyParser) bindSetting(given map[string]string, no *refusals, word string, args []string) (rest []string) {
	if refused, ok := refusedBindSettings[word]; ok {
		no.add(word, refused.why)
		return args[min(refused.values, len(args)):]
	}
	value := ""
	if bindSettings[word] == 1 {
		if len(args) == 0 || args[0] == "" {
			p.expected(p.line, "bind "+word, "a value", "")
			return args[min(1, len(args)):]
		}
		value, args = args[0], args[1:]
	}
	if slices.Contains(ignoredBindSettings, word) {
		p.note(p.line, "bind %s is ignored: %s", word, aboutSockets)
	}
	if word == "interface" && checkInterface(value) != nil {
		p.expected(p.line, "bind interface", "an interface's name", value)
		return args
	}
	given[word] = value
	return args
}

func knownBindWord(word string) bool {
	_, served := bindSettings[word]
	_, refused := refusedBindSettings[word]
	return served || refused
}

// bindSettings are those that may follow a bind's address, and how many words belong to each.
var bindSettings = map[string]int{
	"interface": 1, "name": 1, "v4v6": 0, "v6only": 0, "transparent": 0, "backlog": 1, "maxconn": 1, "nice": 1, "id": 1,
	"process": 1, "thread": 1, "shards": 1, "tcp-ut": 1, "user": 1, "uid": 1, "group": 1, "gid": 1, "mode": 1,
}

var ignoredBindSettings = []string{
	"backlog", "maxconn", "nice", "id", "process", "thread", "shards", "tcp-ut", "user", "uid", "group", "gid", "mode",
}

// Why settings of a bind are refused.
const (
	ownAddress = "clients are known by their own address"
	endsNoTLS  = "hushgate ends no TLS, and with TLS from the start it is the client that talks first"
	notStats   = "it is about HAProxy's control socket"
)

var refusedBindSettings = map[string]refusedSetting{
	"accept-netscaler-cip":  {1, ownAddress},
	"accept-proxy":          {0, ownAddress},
	"allow-0rtt":            {0, endsNoTLS},
	"alpn":                  {1, endsNoTLS},
	"ca-file":               {1, endsNoTLS},
	"ca-ignore-err":         {1, endsNoTLS},
	"ca-sign-file":          {1, endsNoTLS},
	"ca-sign-pass":          {1, endsNoTLS},
	"ca-verify-file":        {1, endsNoTLS},
	"ciphers":               {1, endsNoTLS},
	"ciphersuites":          {1, endsNoTLS},
	"crl-file":              {1, endsNoTLS},
	"crt":                   {1, endsNoTLS},
	"crt-ignore-err":        {1, endsNoTLS},
	"crt-list":              {1, endsNoTLS},
	"curves":                {1, endsNoTLS},
	"defer-accept":          {0, "it waits for the client to talk, which an SMTP client does not"},
	"ecdhe":                 {1, endsNoTLS},
	"expose-fd":             {1, notStats},
	"force-sslv3":           {0, endsNoTLS},
	"force-tlsv10":          {0, endsNoTLS},
	"force-tlsv11":          {0, endsNoTLS},
	"force-tlsv12":          {0, endsNoTLS},
	"force-tlsv13":          {0, endsNoTLS},
	"generate-certificates": {0, endsNoTLS},
	"level":                 {1, notStats},
	"mss":                   {1, "the MSS follows from the servers and the interfaces"},
	"namespace":             {1, "start hushgate in the namespace"},
	"no-ca-names":           {0, endsNoTLS},
	"no-sslv3":              {0, endsNoTLS},
	"no-tls-tickets":        {0, endsNoTLS},
	"no-tlsv10":             {0, endsNoTLS},
	"no-tlsv11":             {0, endsNoTLS},
	"no-tlsv12":             {0, endsNoTLS},
	"no-tlsv13":             {0, endsNoTLS},
	"npn":                   {1, endsNoTLS},
	"prefer-client-ciphers": {0, endsNoTLS},
	"proto":                 {1, aboutHTTP},
	"severity-output":       {1, notStats},
	"ssl":                   {0, endsNoTLS},
	"ssl-max-ver":           {1, endsNoTLS},
	"ssl-min-ver":           {1, endsNoTLS},
	"strict-sni":            {0, endsNoTLS},
	"tfo":                   {0, "data in a SYN is ignored"},
	"tls-ticket-keys":       {1, endsNoTLS},
	"verify":                {1, endsNoTLS},
}
