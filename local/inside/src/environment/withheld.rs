//! The variables of the target that bridge withholds from programs on this machine, with the reason. Pure: one table.
//!
//! The target's environment comes from the cluster. Anyone who can edit the workload's template, or runs in place of
//! the agent, chooses it. A variable that makes a local program run or load something would give that person the
//! developer's account; one with a path of the image would break local programs. `--env-include NAME` takes one all the
//! same.

/// Why a variable is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It describes the user, which this machine knows. Every image has some of them: no need to report them.
    Own,
    /// It makes a program here run or load something, or points programs here at something that the sender chooses.
    Acts,
}

/// A `*` at the end stands for anything. Case does not matter: npm, zsh and Windows' programs ignore it, too.
const TABLE: [(Why, &str); 12] = [
    (Why::Own, OWN),
    (Why::Acts, LOADER),
    (Why::Acts, SHELLS),
    (Why::Acts, EDITORS_AND_PAGERS),
    (Why::Acts, TOOLS),
    (Why::Acts, VERSION_CONTROL),
    (Why::Acts, INTERPRETERS),
    (Why::Acts, VIRTUAL_MACHINES),
    (Why::Acts, BUILDS),
    (Why::Acts, TRUST),
    (Why::Acts, NETWORK),
    (Why::Acts, DESKTOP),
];

/// The user's name and directories.
const OWN: &str = "
    PATH HOME USER USERNAME LOGNAME SHELL PWD OLDPWD SHLVL TMPDIR TMP TEMP TEMPDIR HOSTNAME HOST MAIL _ TERM
    TERM_* COLORTERM COLUMNS LINES LANG LANGUAGE LC_* LS_COLORS NO_COLOR CLICOLOR CLICOLOR_FORCE XDG_*
    BRIDGE_*";

/// The dynamic loader and the C library (ld.so(8); glibc's unsecvars.h), and other linked code.
const LOADER: &str = "
    LD_* DYLD_* GCONV_PATH GETCONF_DIR GLIBC_TUNABLES LOCPATH NLSPATH NIS_PATH TZDIR MALLOC_TRACE
    MALLOC_CONF _RJEM_MALLOC_CONF JE_MALLOC_CONF HEAPPROFILE CPUPROFILE PPROF_PATH QEMU_LD_PREFIX FAKEROOT*
    FAKECHROOT* ASAN_* LSAN_* MSAN_* TSAN_* UBSAN_* VALGRIND_* GCOV_* LLVM_PROFILE_FILE ICU_DATA TERMINFO
    TERMINFO_DIRS TERMCAP TERMPATH INPUTRC";

/// Shells: files read at the start, commands run before a prompt, and functions.
const SHELLS: &str = "
    BASH BASH_* BASHOPTS SHELLOPTS ENV PROMPT PROMPT_COMMAND PS0 PS1 PS2 PS3 PS4 IFS CDPATH GLOBIGNORE
    EXECIGNORE FIGNORE FPATH ZDOTDIR MAILPATH FCEDIT HISTFILE HISTFILESIZE HISTSIZE HISTCONTROL HISTIGNORE HISTTIMEFORMAT FISH_* __FISH_* PSMODULEPATH POWERSHELL_*
    STARSHIP_* DIRENV_*";

const EDITORS_AND_PAGERS: &str = "
    EDITOR VISUAL SUDO_EDITOR KUBE_EDITOR GH_EDITOR PSQL_EDITOR* PSQLRC BROWSER GH_BROWSER PAGER MANPAGER
    SYSTEMD_PAGER AWS_PAGER GH_PAGER PSQL_PAGER BAT_PAGER DELTA_PAGER LESS LESSOPEN LESSCLOSE LESSEDIT LESSECHO LESSKEY* LESSHISTFILE LESSSECURE LESSCHARSET LESSMETA* MORE MANOPT MANROFFOPT MANPATH
    INFOPATH VIM VIMRUNTIME VIMINIT GVIMINIT MYVIMRC EXINIT NVIM* EMACS* MC_* TMUX* STY SCREENRC SCREENDIR";

/// Everyday programs whose options or helpers can be set from outside.
const TOOLS: &str = "
    GREP_OPTIONS TAR_OPTIONS TAPE RSH RSYNC_* ZIP ZIPOPT UNZIP ZIPINFO GZIP BZIP BZIP2 XZ_OPT XZ_DEFAULTS
    FZF_* RIPGREP_CONFIG_PATH ACKRC BAT_CONFIG_PATH PARALLEL* WGETRC SYSTEM_WGETRC CURL_HOME NETRC LYNX_*
    SUDO_* SSH_* GPG_* GNUPGHOME ANSIBLE_* VAGRANT_* TF_CLI_* TF_REATTACH_PROVIDERS TF_PLUGIN_CACHE_DIR
    HELM_* KUBECTL_* KUBECONFIG KUBERC MINIKUBE_* DOCKER_* BUILDKIT_* BUILDX_* COMPOSE_* CONTAINER_HOST
    CONTAINERS_* CONTAINERD_* NERDCTL_* PODMAN_* REGISTRY_AUTH_FILE AWS_CONFIG_FILE
    AWS_SHARED_CREDENTIALS_FILE CLOUDSDK_* AZURE_CONFIG_DIR AZURE_EXTENSION_DIR
    GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES MAGICK_* GS_LIB GS_OPTIONS GDAL_DRIVER_PATH OGR_DRIVER_PATH
    LIBMYSQL_* ODBCINI ODBCSYSINI ODBCINSTINI CUDA_INJECTION* NVTX_INJECTION* NCCL_NET_PLUGIN
    NCCL_TUNER_PLUGIN HSA_TOOLS_LIB OMP_TOOL_LIBRARIES OMPI_MCA_* PMIX_MCA_* LIBVIRT_* DEBUGINFOD_URLS";

const VERSION_CONTROL: &str = "
    GIT_* HG HGRCPATH HGEDITOR HGMERGE HGPLAIN* SVN_* CVS* BZR_* P4*";

const INTERPRETERS: &str = "
    NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED NODE_REPL_* NODE_V8_COVERAGE
    NODE_REDIRECT_WARNINGS NODE_COMPILE_CACHE* NODE_ICU_DATA NODE_CHANNEL_* NODE_UNIQUE_ID ELECTRON_* NVM_*
    FNM_* VOLTA_* COREPACK_* NPM_* YARN_* PNPM_* BUN_* DENO_* TS_NODE_* PYTHON* IPYTHONDIR JUPYTER_*
    VIRTUAL_ENV* PIP_* PIPX_* PIPENV_* UV_* POETRY_* PDM_* CONDA_* MAMBA_* PYENV_* PYTEST_* TOX_*
    GUNICORN_CMD_ARGS PYDEVD_* PYCHARM_* DEBUGPY_* RUBY* GEM_* BUNDLE_* BUNDLER_* RBENV_* RVM_* IRBRC
    BOOTSNAP_* RAKE_* JRUBY_OPTS PERL* PHPRC PHP_INI_SCAN_DIR PHP_PEAR_* COMPOSER* LUA_INIT* LUA_PATH*
    LUA_CPATH* LUAROCKS_* R_* RSTUDIO_* RENV_* JULIA_* OCTAVE_* MATLABPATH TCLLIBPATH TCL_LIBRARY TK_LIBRARY
    GUILE_* ERL_* ELIXIR_ERL_OPTIONS MIX_* HEX_* REBAR_* GHCRTS GHC_* CABAL_* STACK_* CAML* OCAML* OPAM*
    AWKPATH AWKLIBPATH";

/// Java, .NET and other runtimes with agents and profilers.
const VIRTUAL_MACHINES: &str = "
    JAVA_HOME JAVA_TOOL_OPTIONS JAVA_OPTS* JAVA_OPTIONS JAVA_ARGS _JAVA_* JDK_* JRE_HOME JAVACMD JAVA_CMD
    JVM_OPTS IBM_JAVA_OPTIONS OPENJ9_JAVA_OPTIONS CLASSPATH CATALINA_* GROOVY_* SCALA_HOME KOTLIN_HOME
    DOTNET_* COMPLUS_* CORECLR_* COR_* ASPNETCORE_HOSTINGSTARTUP* MONO_* NUGET_* MSBUILD* DART_VM_OPTIONS
    PUB_* FLUTTER_ROOT";

/// Compilers, their flags and wrappers, and build tools.
const BUILDS: &str = "
    MAVEN_* MVN* M2_HOME GRADLE_* SBT_* ANT_* LEIN_* GOFLAGS GOROOT GOPATH GOBIN GOENV GOTOOLCHAIN GOTOOLDIR
    GOPROXY GOPRIVATE GONOPROXY GONOSUMDB GONOSUMCHECK GOINSECURE GOSUMDB GOCACHE GOCACHEPROG GOMODCACHE
    GOTMPDIR GOVCS GOWORK GOAUTH GOCOVERDIR GOOS GOARCH GO111MODULE GOEXPERIMENT GO_EXTLINK_ENABLED CGO_*
    RUSTFLAGS RUSTDOC* RUSTC* RUSTUP_* CARGO* MAKE MAKEFLAGS MFLAGS GNUMAKEFLAGS MAKEFILES MAKELEVEL CC CXX
    CPP LD AR CFLAGS CXXFLAGS CPPFLAGS LDFLAGS CPATH C_INCLUDE_PATH CPLUS_INCLUDE_PATH OBJC_INCLUDE_PATH
    LIBRARY_PATH COMPILER_PATH GCC_* CCACHE_* SCCACHE_* DISTCC_* CMAKE_* CTEST_* NINJA_* MESON* SCONSFLAGS
    PKG_CONFIG* ACLOCAL_PATH AUTOM4TE* CONFIG_SITE M4PATH BISON_PKGDATADIR YACC LEX PROTOC TEXINPUTS TEXMF*
    BAZEL* BUCK* NIX_* GUIX_* HOMEBREW_* EARTHLY_* DAGGER_*";

/// The authorities that programs here trust, and the places of keys and credentials.
const TRUST: &str = "
    OPENSSL_* SSL_CERT_FILE SSL_CERT_DIR SSL_DIR SSLKEYLOGFILE CURL_CA_BUNDLE CURL_SSL_BACKEND
    REQUESTS_CA_BUNDLE AWS_CA_BUNDLE HTTPLIB2_CA_CERTS WEBSOCKET_CLIENT_CA_BUNDLE
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH GNUTLS_* PKCS11_* P11_KIT_* SOFTHSM2_CONF KRB5* SASL_PATH LDAPCONF
    LDAPRC LDAPTLS_*";

/// The resolvers and proxies that programs here use: this machine's own.
const NETWORK: &str = "
    HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY RSYNC_PROXY SOCKS_* HOSTALIASES LOCALDOMAIN
    RES_OPTIONS RESOLV_*";

/// The user's desktop session, and what its programs load.
const DESKTOP: &str = "
    DISPLAY WAYLAND_* XAUTHORITY ICEAUTHORITY SESSION_MANAGER DBUS_* DESKTOP_* GNOME_* KDE* GTK* GDK_* GIO_*
    GST_* GI_TYPELIB_PATH GSETTINGS_* QT_* QML* PULSE_* PIPEWIRE_* ALSA_CONFIG_* AT_SPI_* VK_* LIBGL_*
    MESA_* EGL_* __EGL* __GLX* __NV_* OCL_ICD_* OPENCL_* LIBVA_* VDPAU_* SYSTEMD_* NOTIFY_SOCKET LISTEN_FDS
    LISTEN_PID LISTEN_FDNAMES WATCHDOG_* VSCODE_*";

/// Names that match a pattern above and that nothing acts on: applications and their images set them for themselves.
const HARMLESS: &str = "
    GIT_COMMIT GIT_COMMIT_SHA GIT_COMMIT_HASH GIT_SHA GIT_HASH GIT_REVISION GIT_REV GIT_REF GIT_BRANCH
    GIT_TAG GIT_VERSION PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE PYTHONFAULTHANDLER PYTHONHASHSEED
    PYTHONIOENCODING PYTHONUTF8 PYTHONOPTIMIZE PYTHON_VERSION PYTHON_SHA256 PYTHON_PIP_VERSION
    PYTHON_SETUPTOOLS_VERSION PYTHON_ENV RUBY_VERSION RUBY_MAJOR YARN_VERSION NPM_VERSION MIX_ENV
    DOTNET_ENVIRONMENT DOTNET_VERSION DOTNET_RUNNING_IN_CONTAINER DOTNET_RUNNING_IN_CONTAINERS
    DOTNET_SYSTEM_GLOBALIZATION_INVARIANT DOTNET_USE_POLLING_FILE_WATCHER DOTNET_GCSERVER DOCKER_IMAGE";

/// The endings of the names that Kubernetes sets for each Service, whatever its name: a Service `cargo` is no build
/// tool.
const SERVICE_LINKS: [&str; 3] = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"];

/// The beginning of an exported shell function: old shells took any such variable for code (CVE-2014-6271).
const FUNCTION: &[u8] = b"() {";

/// Why this variable is withheld; `None`: it is used. `name` is one that [`is_name`] accepts.
pub(super) fn why(name: &str, value: &[u8]) -> Option<Why> {
    if value.starts_with(FUNCTION) {
        return Some(Why::Acts);
    }
    if is_service_link(name)
        || HARMLESS.split_whitespace().any(|harmless| harmless.eq_ignore_ascii_case(name))
    {
        return None;
    }
    TABLE
        .iter()
        .find(|(_, patterns)| patterns.split_whitespace().any(|pattern| fits(pattern, name)))
        .map(|(why, _)| *why)
}

/// Whether a variable can have this name and value, by Kubernetes' and execve(2)'s rules. Others would change their
/// meaning here: a name with `=` is another variable's, one with a control character steers the terminal that shows it.
pub(super) fn is_possible(name: &[u8], value: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'=';
    !name.is_empty() && name.iter().all(printable) && !value.contains(&0)
}

/// CARGO_SERVICE_HOST, CARGO_SERVICE_PORT_HTTP, CARGO_PORT, CARGO_PORT_80_TCP_ADDR.
fn is_service_link(name: &str) -> bool {
    let of_one_port = |(_, rest): (&str, &str)| {
        rest.split_once('_').is_some_and(|(port, protocol)| {
            port.bytes().all(|byte| byte.is_ascii_digit())
                && ["TCP", "UDP", "SCTP"].iter().any(|it| protocol.starts_with(it))
        })
    };
    SERVICE_LINKS.iter().any(|end| name.ends_with(end))
        || name.contains("_SERVICE_PORT_")
        || name.rsplit_once("_PORT_").is_some_and(of_one_port)
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.get(..beginning.len()).is_some_and(|it| it.eq_ignore_ascii_case(beginning)),
        None => name.eq_ignore_ascii_case(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_make_a_program_here_run_or_load_something_stay_out() {
        const NAMES: &str = "
            BASH_ENV ENV BASH_FUNC_ls%% SHELLOPTS PROMPT_COMMAND PS4 IFS NODE_OPTIONS
            npm_config_script_shell NPM_CONFIG_REGISTRY GIT_SSH_COMMAND GIT_CONFIG_COUNT GIT_CONFIG_KEY_0
            GIT_EXEC_PATH PERL5OPT PERL5LIB PERL5DB PYTHONSTARTUP PYTHONPATH PYTHONWARNINGS PYTHON_PRESITE
            RUBYOPT RUBYLIB JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS LD_PRELOAD LD_AUDIT
            DYLD_INSERT_LIBRARIES GCONV_PATH DOTNET_STARTUP_HOOKS CORECLR_PROFILER_PATH COR_PROFILER EDITOR
            PAGER BROWSER VISUAL LESSOPEN MAVEN_OPTS GRADLE_OPTS SBT_OPTS GOFLAGS GOCACHEPROG GOAUTH
            RUSTFLAGS RUSTC_WRAPPER CARGO_BUILD_RUSTC PIP_INDEX_URL UV_INDEX OPENSSL_CONF SSLKEYLOGFILE
            CURL_CA_BUNDLE SSL_CERT_FILE TERMINFO LUA_INIT_5_4 R_PROFILE_USER PSModulePath KUBECONFIG
            DOCKER_HOST SSH_AUTH_SOCK TAR_OPTIONS RSYNC_RSH FZF_DEFAULT_COMMAND RIPGREP_CONFIG_PATH
            ASAN_OPTIONS GUNICORN_CMD_ARGS CUDA_INJECTION64_PATH AWS_CONFIG_FILE GTK_MODULES
            VK_ICD_FILENAMES HTTPS_PROXY https_proxy HOSTALIASES";
        for name in NAMES.split_whitespace() {
            assert_eq!(why(name, b"x"), Some(Why::Acts), "{name}");
        }
    }

    #[test]
    fn variables_about_the_user_stay_out_in_silence() {
        for name in ["PATH", "HOME", "USER", "SHELL", "PWD", "TMPDIR", "LC_ALL", "XDG_DATA_HOME", "BRIDGE_ME"]
        {
            assert_eq!(why(name, b"x"), Some(Why::Own), "{name}");
        }
    }

    #[test]
    fn variables_of_an_application_are_taken() {
        const NAMES: &str = "
            DB_HOST DATABASE_URL LOG_LEVEL KUBERNETES_SERVICE_HOST ORDERS_PORT_80_TCP_ADDR OTEL_SERVICE_NAME
            NODE_ENV NODE_VERSION RAILS_ENV SPRING_PROFILES_ACTIVE SPRING_DATASOURCE_URL ASPNETCORE_URLS
            DOTNET_ENVIRONMENT PYTHONUNBUFFERED PYTHON_VERSION GIT_COMMIT RUST_LOG RUST_BACKTRACE GOMAXPROCS
            GOGC JAVA_VERSION MALLOC_ARENA_MAX TZ AWS_REGION AWS_WEB_IDENTITY_TOKEN_FILE
            GOOGLE_APPLICATION_CREDENTIALS PGHOST PGPASSWORD MYSQL_HOST REDIS_URL GOLANG_VERSION MIX_ENV
            ENVIRONMENT CARGO_SERVICE_HOST CARGO_SERVICE_PORT_HTTP CARGO_PORT CARGO_PORT_80_TCP_ADDR APP_ENV PATHS HOMEPAGE_URL EDITORS my.dotted-name";
        for name in NAMES.split_whitespace() {
            assert_eq!(why(name, b"x"), None, "{name}");
        }
    }

    #[test]
    fn a_function_of_a_shell_stays_out_under_any_name() {
        assert_eq!(why("GREETING", b"() { :; }; touch /tmp/x"), Some(Why::Acts));
        assert_eq!(why("GREETING", b"(hello)"), None);
    }

    #[test]
    fn only_possible_variables_are_taken() {
        for name in [&b"DB"[..], b"my.dotted-name", b"a b", b"BASH_FUNC_x%%"] {
            assert!(is_possible(name, b"x"), "{}", name.escape_ascii());
        }
        for name in
            [&b""[..], b"=", b"LD_PRELOAD=/x", b"A\0", b"A\n", b"A\x1b[2J", b"A\x7f", b"\xff", "Ä".as_bytes()]
        {
            assert!(!is_possible(name, b"x"), "{}", name.escape_ascii());
        }
        assert!(!is_possible(b"DB", b"a\0b"), "no program could be started with it");
    }
}
