/* The loops of `openssl speed` with Debian's libcrypto, for a time that the program itself keeps: crypto SECONDS. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of <openssl/evp.h>, which is in a package of its own. */
typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;
typedef struct evp_md_ctx_st EVP_MD_CTX;
typedef struct evp_pkey_st EVP_PKEY;
EVP_CIPHER_CTX *EVP_CIPHER_CTX_new(void);
const void *EVP_aes_256_gcm(void), *EVP_sha256(void);
int EVP_EncryptInit_ex(EVP_CIPHER_CTX *, const void *, void *, const unsigned char *, const unsigned char *);
int EVP_EncryptUpdate(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int);
int EVP_Digest(const void *, size_t, unsigned char *, unsigned *, const void *, void *);
EVP_PKEY *EVP_PKEY_Q_keygen(void *, const char *, const char *, ...);
EVP_MD_CTX *EVP_MD_CTX_new(void);
void EVP_MD_CTX_free(EVP_MD_CTX *);
int EVP_DigestSignInit(EVP_MD_CTX *, void *, const void *, void *, EVP_PKEY *);
int EVP_DigestSign(EVP_MD_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);

#define BLOCK 16384
static unsigned char in[BLOCK], out[BLOCK + 64], key[32], iv[12];
static EVP_CIPHER_CTX *cipher;
static EVP_PKEY *rsa;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static int gcm(void) {
    int length;
    return EVP_EncryptInit_ex(cipher, NULL, NULL, NULL, iv) && EVP_EncryptUpdate(cipher, out, &length, in, BLOCK);
}
static int sha(void) { return EVP_Digest(in, BLOCK, out, NULL, EVP_sha256(), NULL); }
static int sign(void) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t length = sizeof out;
    int done = EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, rsa) &&
               EVP_DigestSign(context, out, &length, in, 32);
    EVP_MD_CTX_free(context);
    return done;
}

static void measure(const char *name, int (*once)(void), double unit, double seconds) {
    long count = 0;
    double begin = now(), spent;
    do {
        for (int i = 0; i < 8; i++, count++)
            if (!once()) {
                printf("%s - refused by the library\n", name);
                return;
            }
        spent = now() - begin;
    } while (spent < seconds);
    printf("%s %.3f\n", name, (double)count * unit / spent);
    fflush(stdout);
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    cipher = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, iv);
    rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    measure("aes-256-gcm", gcm, BLOCK / 1e6, seconds);
    measure("sha256", sha, BLOCK / 1e6, seconds);
    measure("rsa2048-sign", sign, 1, seconds);
    return 0;
}
