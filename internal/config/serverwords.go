package config

import (
	"cmp"
	"slices"
	"strconv"
)

// refusedSetting is a word on HAProxy's server lines that is not served. The number of its values lets the parser continue
// after it, so that the rest of the line is read too.
type refusedSetting struct {
	values int
	why    string
}

// The reasons for which settings of a server are refused.
const (
	noSpokenTLS  = "hushgate does not speak TLS; STARTTLS passes through it"
	noLimits     = "hushgate does not limit connections to a server; let the server do so"
	noStickiness = "hushgate does not tie clients to servers"
	onlyChecks   = "health checks alone decide whether a server is up"
	standing     = "open connections are kept"
	noReuse      = "each client connection has its own connection to a server"
)

// refusedServerSettings lists the settings of HAProxy 2.6 (`haproxy -dKsrv`) that would change what a server receives. Those
// in unlimitedAtZero are accepted with the value 0.
var refusedServerSettings = map[string]refusedSetting{
	"agent-addr":           {1, onlyChecks},
	"agent-check":          {0, onlyChecks},
	"agent-inter":          {1, onlyChecks},
	"agent-port":           {1, onlyChecks},
	"agent-send":           {1, onlyChecks},
	"allow-0rtt":           {0, noSpokenTLS},
	"alpn":                 {1, noSpokenTLS},
	"ca-file":              {1, noSpokenTLS},
	"check-alpn":           {1, noSpokenTLS},
	"check-proto":          {1, "a check is `option tcp-check` (connect) or `option smtpchk`"},
	"check-sni":            {1, noSpokenTLS},
	"check-ssl":            {0, "checks speak SMTP in the clear"},
	"check-via-socks4":     {0, "hushgate connects to its servers directly"},
	"ciphers":              {1, noSpokenTLS},
	"ciphersuites":         {1, noSpokenTLS},
	"cookie":               {1, noStickiness},
	"crl-file":             {1, noSpokenTLS},
	"crt":                  {1, noSpokenTLS},
	"error-limit":          {1, onlyChecks},
	"force-sslv3":          {0, noSpokenTLS},
	"force-tlsv10":         {0, noSpokenTLS},
	"force-tlsv11":         {0, noSpokenTLS},
	"force-tlsv12":         {0, noSpokenTLS},
	"force-tlsv13":         {0, noSpokenTLS},
	"log-proto":            {1, "it is about log servers"},
	"max-reuse":            {1, noReuse},
	"maxconn":              {1, noLimits},
	"maxqueue":             {1, noLimits},
	"minconn":              {1, noLimits},
	"namespace":            {1, "start hushgate in the namespace"},
	"npn":                  {1, noSpokenTLS},
	"observe":              {1, onlyChecks},
	"on-error":             {1, onlyChecks},
	"on-marked-down":       {1, standing},
	"on-marked-up":         {1, standing},
	"pool-low-conn":        {1, noReuse},
	"pool-max-conn":        {1, noReuse},
	"pool-purge-delay":     {1, noReuse},
	"proto":                {1, aboutHTTP},
	"proxy-v2-options":     {1, "the header has only addresses"},
	"redir":                {1, aboutHTTP},
	"send-proxy-v2-ssl":    {0, noSpokenTLS},
	"send-proxy-v2-ssl-cn": {0, noSpokenTLS},
	"slowstart":            {1, "a server that comes up takes its full share at once"},
	"sni":                  {1, noSpokenTLS},
	"socks4":               {1, "hushgate connects to its servers directly"},
	"ssl":                  {0, noSpokenTLS},
	"ssl-max-ver":          {1, noSpokenTLS},
	"ssl-min-ver":          {1, noSpokenTLS},
	"ssl-reuse":            {0, noSpokenTLS},
	"stick":                {0, noStickiness},
	"tcp-ut":               {1, "`timeout server` bounds the silence of a server"},
	"tfo":                  {0, "hushgate sends no data in a SYN"},
	"tls-tickets":          {0, noSpokenTLS},
	"track":                {1, "each server is checked by itself"},
	"verify":               {1, noSpokenTLS},
	"verifyhost":           {1, noSpokenTLS},
	"ws":                   {1, aboutHTTP},
}

// unlimitedAtZero lists refused settings whose value 0, HAProxy's default, means that there is no limit.
var unlimitedAtZero = []string{"maxconn", "maxqueue", "minconn", "slowstart"}

// ignoredServerSettings take one value each. Those about name lookup have no effect on a literal address, and anything but a
// literal address is reported by itself.
var ignoredServerSettings = map[string]string{
	"id":             "hushgate knows its servers by name",
	"init-addr":      noNames,
	"resolve-net":    noNames,
	"resolve-opts":   noNames,
	"resolve-prefer": noNames,
	"resolvers":      noNames,
}

const noNames = "names are not looked up"

// absentServerSettings switch off what hushgate does not have.
var absentServerSettings = []string{
	"no-agent-check", "no-check-ssl", "no-send-proxy-v2-ssl", "no-send-proxy-v2-ssl-cn", "no-ssl", "no-ssl-reuse",
	"no-sslv3", "no-tfo", "no-tls-tickets", "no-tlsv10", "no-tlsv11", "no-tlsv12", "no-tlsv13", "non-stick",
}

// serverSettings reads the words after a server's address. It reads on after a word that it does not know, so that each
// mistake on the line is reported once, without errors that only follow from another.
func (p *haproxyParser) serverSettings(keyword string, s *rawServer, args []string) {
	var refused refusals
	for len(args) > 0 {
		word := args[0]
		if !knownServerWord(word) {
			s.broken = true
			near := p.unknown(p.line, keyword, word, "setting", knownServerSettings())
			if near == "" {
				args = fromKnownServerWord(args[1:])
				continue
			}
			word = near
		}
		args = p.serverSetting(keyword, s, &refused, word, args[1:])
	}
	s.broken = s.broken || len(refused) > 0
	refused.report(p, keyword)
}

// refusals collects the refused words on one line, grouped by reason.
type refusals []refusal

type refusal struct{ words, why string }

func (r *refusals) add(word, why string) {
	for i := range *r {
		if one := &(*r)[i]; one.why == why {
			one.words += ", " + word
			return
		}
	}
	*r = append(*r, refusal{word, why})
}

func (r refusals) report(p *haproxyParser, keyword string) {
	for _, one := range r {
		p.wrong(p.line, keyword+" "+one.words, "not served: %s", one.why)
	}
}

// serverSetting reads one setting with its values, and returns the words after it.
func (p *haproxyParser) serverSetting(keyword string, s *rawServer, no *refusals, word string, args []string) (rest []string) {
	value := ""
	if len(args) > 0 {
		value, rest = args[0], args[1:]
	}
	if one := findWord(serverSettings, word); one != nil && word != "source" {
		n := min(one.values, len(args))
		one.line(p, s, keyword+" "+word, args[:n], word == one.not)
		return args[n:]
	}
	refused, isRefused := refusedServerSettings[word]
	why, isIgnored := ignoredServerSettings[word]
	switch {
	case slices.Contains(absentServerSettings, word):
		return args
	case word == "source":
		return p.serverSource(keyword, s, args)
	case isIgnored:
		p.note(p.line, "%s is ignored: %s", word, why)
		return rest
	case isRefused && slices.Contains(unlimitedAtZero, word) && isZero(value):
		return rest
	}
	no.add(word, refused.why)
	return args[min(refused.values, len(args)):]
}

// serverSource reads the words after `source` on a server's line.
func (p *haproxyParser) serverSource(keyword string, s *rawServer, args []string) (rest []string) {
	source, rest, ok := p.sourceOf(keyword+" source", args)
	if !ok {
		s.broken = true
		return fromKnownServerWord(args)
	}
	s.Source, s.sourceSet = source, true
	return rest
}

func isZero(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n == 0
}

// fromKnownServerWord skips the words before the next known setting: they are values of an unknown one.
func fromKnownServerWord(args []string) []string {
	i := slices.IndexFunc(args, knownServerWord)
	if i < 0 {
		return nil
	}
	return args[i:]
}

func knownServerWord(word string) bool {
	_, refused := refusedServerSettings[word]
	return findWord(serverSettings, word) != nil || refused || ignoredServerSettings[word] != "" || slices.Contains(absentServerSettings, word)
}

// knownServerSettings lists the settings that have an effect here, those without a value first.
func knownServerSettings() []string {
	table := serverSettings
	known := wordsAfter(table, "")
	slices.SortStableFunc(known, func(a, b string) int {
		return cmp.Compare(findWord(table, a).values, findWord(table, b).values)
	})
	return known
}
