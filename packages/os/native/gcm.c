/*
 * AES-128-GCM of pages by the OpenSSL that Node carries and offers to addons. Node's own cipher objects serve one
 * message each, and making one costs more than encrypting a page; a context here serves one key.
 */
#include "nsgx_os.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096
#define IV 12
#define HEADER 128
#define TAG 16
/* EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG of <openssl/evp.h> */
#define GET_TAG 0x10
#define SET_TAG 0x11

/* The functions of <openssl/evp.h> that are used, by name; structures stay opaque. */
static struct {
  void *(*new_context)(void);
  void (*free_context)(void *);
  const void *(*aes_128_gcm)(void);
  int (*init)(void *, const void *, void *, const unsigned char *, const unsigned char *, int);
  int (*update)(void *, unsigned char *, int *, const unsigned char *, int);
  int (*final)(void *, unsigned char *, int *);
  int (*control)(void *, int, int, void *);
} evp;
static int found;

struct gcm {
  void *seal, *open;
};

static void find(void) {
  *(void **)&evp.new_context = dlsym(RTLD_DEFAULT, "EVP_CIPHER_CTX_new");
  *(void **)&evp.free_context = dlsym(RTLD_DEFAULT, "EVP_CIPHER_CTX_free");
  *(void **)&evp.aes_128_gcm = dlsym(RTLD_DEFAULT, "EVP_aes_128_gcm");
  *(void **)&evp.init = dlsym(RTLD_DEFAULT, "EVP_CipherInit_ex");
  *(void **)&evp.update = dlsym(RTLD_DEFAULT, "EVP_CipherUpdate");
  *(void **)&evp.final = dlsym(RTLD_DEFAULT, "EVP_CipherFinal_ex");
  *(void **)&evp.control = dlsym(RTLD_DEFAULT, "EVP_CIPHER_CTX_ctrl");
  found = evp.new_context && evp.free_context && evp.aes_128_gcm && evp.init && evp.update && evp.final && evp.control;
}

static void destroy(struct gcm *gcm) {
  if (gcm->seal) evp.free_context(gcm->seal);
  if (gcm->open) evp.free_context(gcm->open);
  free(gcm);
}

/* A context for one key of 16 bytes, or -ENOSYS where Node offers no such functions. One thread at a time uses it. */
EXPORT int64_t nsgx_gcm_create(const void *key) {
  find();
  if (!found) return -ENOSYS;
  struct gcm *gcm = calloc(1, sizeof *gcm);
  if (gcm == NULL) return -ENOMEM;
  gcm->seal = evp.new_context();
  gcm->open = evp.new_context();
  const void *cipher = evp.aes_128_gcm();
  if (gcm->seal && gcm->open && cipher && evp.init(gcm->seal, cipher, NULL, key, NULL, 1) == 1 &&
      evp.init(gcm->open, cipher, NULL, key, NULL, 0) == 1)
    return (int64_t)(uintptr_t)gcm;
  destroy(gcm);
  return -EIO;
}

/* Forgets the key. */
EXPORT int64_t nsgx_gcm_destroy(uint64_t context) {
  if (context) destroy((struct gcm *)(uintptr_t)context);
  return 0;
}

static int run(void *context, const void *iv, const void *header, const void *in, void *out) {
  int length = 0;
  return evp.init(context, NULL, NULL, NULL, iv, -1) == 1 &&
         evp.update(context, NULL, &length, header, HEADER) == 1 &&
         evp.update(context, out, &length, in, PAGE) == 1 && length == PAGE;
}

/* Encrypts a page under 12 bytes of IV and 128 bytes of additional data; its tag has 16 bytes. */
EXPORT int64_t nsgx_gcm_seal(uint64_t context, const void *iv, const void *header, const void *page, void *out,
                             void *tag) {
  struct gcm *gcm = (struct gcm *)(uintptr_t)context;
  unsigned char none[16];
  int length = 0;
  if (run(gcm->seal, iv, header, page, out) && evp.final(gcm->seal, none, &length) == 1 && length == 0 &&
      evp.control(gcm->seal, GET_TAG, TAG, tag) == 1)
    return 0;
  explicit_bzero(out, PAGE);
  return -EIO;
}

/* Decrypts a page: 1, or 0 with zeros in `out` when it is not what was encrypted under this IV and header. */
EXPORT int64_t nsgx_gcm_open(uint64_t context, const void *iv, const void *header, const void *page, void *out,
                             const void *tag) {
  struct gcm *gcm = (struct gcm *)(uintptr_t)context;
  unsigned char expected[TAG], none[16];
  int length = 0;
  memcpy(expected, tag, TAG);
  if (run(gcm->open, iv, header, page, out) && evp.control(gcm->open, SET_TAG, TAG, expected) == 1 &&
      evp.final(gcm->open, none, &length) == 1 && length == 0)
    return 1;
  explicit_bzero(out, PAGE);
  return 0;
}
