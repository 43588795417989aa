package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServerAndClientTrustTheCA(t *testing.T) {
	d := Dir(t.TempDir())
	for _, c := range []Certificate{
		{Name: "ca", User: "the-ca"},
		{Name: "server", Signer: "ca", User: "server", Hosts: []string{"10.0.0.1", "kubernetes.default"}},
		{Name: "client", Signer: "ca", User: "dev", Group: "devs"},
	} {
		if err := d.Issue(c); err != nil {
			t.Fatal(c.Name, err)
		}
	}
	roots := x509.NewCertPool()
	ca, _, err := d.load("ca")
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(ca)

	for _, host := range []string{"10.0.0.1", "kubernetes.default"} {
		if _, err := must(t, d, "server").Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("as %s: %v", host, err)
		}
	}
	if _, err := must(t, d, "server").Verify(x509.VerifyOptions{Roots: roots, DNSName: "other"}); err == nil {
		t.Error("valid for any name")
	}
	client := must(t, d, "client")
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := client.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: usages}); err != nil {
		t.Error(err)
	}
	if client.Subject.CommonName != "dev" || strings.Join(client.Subject.Organization, " ") != "devs" {
		t.Errorf("subject %v", client.Subject)
	}
	if _, err := must(t, d, "server").Verify(x509.VerifyOptions{Roots: roots, KeyUsages: usages}); err == nil {
		t.Error("a server's certificate passes for a client's")
	}
	if _, err := tls.LoadX509KeyPair(d.path("client.crt"), d.path("client.key")); err != nil {
		t.Error(err)
	}
}

func TestKubeconfig(t *testing.T) {
	d := Dir(t.TempDir())
	u := User{Name: "dev", Server: "https://10.0.0.1:6443", Context: "ctx", Namespace: "ns"}
	if _, err := d.Kubeconfig(u); err == nil {
		t.Fatal("a kubeconfig without a CA")
	}
	if err := d.Issue(Certificate{Name: "ca", User: "the-ca"}); err != nil {
		t.Fatal(err)
	}
	b, err := d.Kubeconfig(u)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`current-context: "ctx"`, `namespace: "ns"`, `server: "https://10.0.0.1:6443"`, `client-key-data: `} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
	keys, _ := filepath.Glob(d.path("*.key"))
	for _, k := range keys {
		if i, err := os.Stat(k); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", k, i.Mode(), err)
		}
	}
}

func must(t *testing.T, d Dir, name string) *x509.Certificate {
	t.Helper()
	crt, _, err := d.load(name)
	if err != nil {
		t.Fatal(err)
	}
	return crt
}
