"""Validation of a sweep's arms before they run: problems of their configurations, and their cost.

    validation_process.validating    results from cache, TensorFlow process and datasets
      result_cache                   results of earlier plans, by content
      __main__                       the TensorFlow process: configurations in, results out
        validator.Validator          names, types, values and effect of bindings; objects are built
          limits                     time, memory and parameters of a build
          architecture               parameters and multiply-adds, from the model's graph
      dataset_checks                 classes and identity of the datasets that are in reach

The process of a plan needs no TensorFlow, and a plan that is made again starts no other process.
"""
