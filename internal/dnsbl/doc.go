// Package dnsbl asks DNS lists (RFC 5782) about addresses, and adds up what they say as Postfix's postscreen does.
//
// A site is a zone, a filter for its answers and a weight; ParseSites reads them in the notation of
// postscreen_dnsbl_sites. The rank of an address is the sum of the weights of the sites that list it. At Threshold or above
// the address is listed, at AllowThreshold or below it is allowed.
//
// Ask never waits. What is known from the cache is answered at once; the rest is asked of all zones in parallel, and a
// function is called as soon as no outstanding answer can change the verdict, or when Timeout is over. Asks for the same
// address share the queries. Queries, waiting asks and the cache are bounded: what finds no room is answered as if the list
// were silent.
//
// Nobody is listed or allowed by mistake. A list counts only with an answer to our question that has addresses of
// 127.0.0.0/8 alone. Whatever else comes, and what does not come in time, is neutral, counted, and logged at most once a
// minute for each list and cause:
//
//	drops, late, no route               the next resolver is asked; the rank is what the other lists say
//	truncated                           asked again over TCP
//	garbage, other question or ID       ignored, as if it had not come: it may be forged
//	SERVFAIL, REFUSED, other codes      the next resolver is asked
//	addresses outside 127.0.0.0/8       a resolver or the zone's new owner lies: the next resolver is asked
//	127.255.255.0/24                    the list refuses this resolver (Spamhaus's convention): the next resolver is asked
//	CNAME                               followed within the answer, at most 8; other names in the answer are ignored
//	the list has 127.0.0.1              RFC 5782 section 5: a list that lists everybody is silent until it no longer does
//
// An answer is kept for its TTL, but between MinTTL and MaxTTL; that an address is not listed, for the time that RFC 2308
// section 5 gives, in the same bounds; a failure for 5 s (RFC 9520). TXT records are not asked for: the text of a
// stranger has no place in our replies, and postscreen does not use it either.
//
// Names of zones may hold credentials. Site.Name is what stands for a zone in answers, logs, errors and counters.
//
// The package does not know connections, policy, or configuration files. Start with Config and Client.Ask.
package dnsbl
