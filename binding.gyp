{
  # The addon with the CPU backend. Kernels are compiled once per instruction set, each set a static library of its own (csrc/cpu/isa.h); csrc/cpu/backend.cpp
  # refers to all of them and chooses at run time. Linux reads flags from cflags, macOS from xcode_settings.
  'variables': {
    'optimized': ['-O3', '-fvisibility=hidden', '-ffp-contract=fast', '-fno-math-errno', '-Wall', '-Wextra', '-Wno-unused-parameter',
                  '-Wno-missing-field-initializers'],
    'kernels': ['<!@(node tools/sources.cjs kernels)'],
    'portable_x64': ['-msse4.2'],
    'avx2': ['-mavx2', '-mfma', '-mf16c', '-Wno-psabi'],
    'avx512': ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', '-mavx2', '-mfma', '-mf16c', '-Wno-psabi'],
  },
  'target_defaults': {
    'cflags': ['-fPIC', '<@(optimized)'],
    'cflags_cc': ['-std=c++17'],
    'xcode_settings': { 'OTHER_CFLAGS': ['<@(optimized)'], 'CLANG_CXX_LANGUAGE_STANDARD': 'c++17', 'MACOSX_DEPLOYMENT_TARGET': '11.0' },
  },
  'targets': [
    {
      'target_name': 'vin-native',
      'sources': ['<!@(node tools/sources.cjs core)'],
      'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
      # The last one: a worker that is being terminated refuses exceptions, which must not end the process.
      'defines': ['NAPI_VERSION=9', 'NAPI_CPP_EXCEPTIONS', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS'],
      'cflags_cc!': ['-fno-exceptions', '-fno-rtti'],
      'xcode_settings': { 'GCC_ENABLE_CPP_EXCEPTIONS': 'YES', 'GCC_ENABLE_CPP_RTTI': 'YES' },
      'dependencies': ['cpu-portable'],
      'conditions': [
        ['target_arch=="x64"', { 'dependencies': ['cpu-avx2', 'cpu-avx512'] }],
        ['OS=="linux"', {
          'cflags': ['-pthread'],
          'libraries': ['-ldl', '-lpthread'],
          # nodelete: a worker that ends must not unload code that the engine's threads still run.
          'ldflags': ['-Wl,-z,nodelete', '-Wl,--version-script=<(module_root_dir)/csrc/exports.map'],
        }],
      ],
    },
    {
      'target_name': 'cpu-portable',
      'type': 'static_library',
      'sources': ['<@(kernels)'],
      'defines': ['VIN_CPU_ISA=portable'],
      'cflags': ['-Wno-psabi'],
      'conditions': [['target_arch=="x64"', { 'cflags': ['<@(portable_x64)'], 'xcode_settings': { 'OTHER_CFLAGS': ['<@(portable_x64)'] } }]],
    },
  ],
  'conditions': [
    ['target_arch=="x64"', {
      'targets': [
        {
          'target_name': 'cpu-avx2',
          'type': 'static_library',
          'sources': ['<@(kernels)'],
          'defines': ['VIN_CPU_ISA=avx2'],
          'cflags': ['<@(avx2)'],
          'xcode_settings': { 'OTHER_CFLAGS': ['<@(avx2)'] },
        },
        {
          'target_name': 'cpu-avx512',
          'type': 'static_library',
          'sources': ['<@(kernels)'],
          'defines': ['VIN_CPU_ISA=avx512'],
          'cflags': ['<@(avx512)'],
          'xcode_settings': { 'OTHER_CFLAGS': ['<@(avx512)'] },
        },
      ],
    }],
  ],
}
