// Package pki makes the cluster's certificates and the kubeconfigs that carry them.
// All are new at every start, and live in one directory that goes with the cluster.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Dir is a directory of NAME.crt and NAME.key files.
type Dir string

// Certificate says what a certificate is for. Signer is the name of the CA that signs
// it; without one it is a CA itself. With Hosts it is a server's, else a client's.
type Certificate struct {
	Name, Signer, User, Group string
	Hosts                     []string
}

func (d Dir) path(file string) string { return filepath.Join(string(d), file) }

// Issue writes NAME.crt and NAME.key.
func (d Dir) Issue(c Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return err
	}
	t := template(c)
	t.SerialNumber = serial
	parent, signKey := t, key
	if c.Signer != "" {
		if parent, signKey, err = d.load(c.Signer); err != nil {
			return err
		}
	}
	crt, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signKey)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := d.write(c.Name+".crt", "CERTIFICATE", crt); err != nil {
		return err
	}
	return d.write(c.Name+".key", "EC PRIVATE KEY", der)
}

func template(c Certificate) *x509.Certificate {
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: c.User},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if c.Group != "" {
		t.Subject.Organization = []string{c.Group}
	}
	for _, h := range c.Hosts {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	if c.Signer == "" {
		t.IsCA, t.BasicConstraintsValid, t.ExtKeyUsage = true, true, nil
		t.KeyUsage |= x509.KeyUsageCertSign
	}
	return t
}

// User says whom a kubeconfig speaks for, and where it leads.
type User struct {
	Name, Group                string
	Server, Context, Namespace string
}

// Kubeconfig issues a client certificate, signed by the CA called "ca", and returns a
// kubeconfig that holds it.
func (d Dir) Kubeconfig(u User) ([]byte, error) {
	name := "user-" + base64.RawURLEncoding.EncodeToString([]byte(u.Name))
	if err := d.Issue(Certificate{Name: name, Signer: "ca", User: u.Name, Group: u.Group}); err != nil {
		return nil, err
	}
	var b [3]string
	for i, f := range []string{"ca.crt", name + ".crt", name + ".key"} {
		data, err := os.ReadFile(d.path(f))
		if err != nil {
			return nil, err
		}
		b[i] = base64.StdEncoding.EncodeToString(data)
	}
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: %[1]q
contexts: [{name: %[1]q, context: {cluster: %[1]q, user: %[2]q, namespace: %[3]q}}]
clusters: [{name: %[1]q, cluster: {server: %[4]q, certificate-authority-data: %[5]s}}]
users: [{name: %[2]q, user: {client-certificate-data: %[6]s, client-key-data: %[7]s}}]
`, u.Context, u.Name, u.Namespace, u.Server, b[0], b[1], b[2]), nil
}

func (d Dir) write(file, kind string, der []byte) error {
	return os.WriteFile(d.path(file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func (d Dir) load(name string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	der, err := d.read(name + ".crt")
	if err != nil {
		return nil, nil, err
	}
	crt, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if der, err = d.read(name + ".key"); err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(der)
	return crt, key, err
}

func (d Dir) read(file string) ([]byte, error) {
	b, err := os.ReadFile(d.path(file))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", d.path(file))
	}
	return block.Bytes, nil
}
