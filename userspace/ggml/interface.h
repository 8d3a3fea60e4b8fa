/* SPDX-License-Identifier: MIT */
/*
 * The interface between libggml-base and a backend, version 3: Debian's libggml-dev ships the
 * public headers only, so what a plug-in fills in is declared here, as the packaged library
 * (0.27) reads it. Members that this backend leaves empty keep their place.
 */
#ifndef KILN_GGML_INTERFACE_H
#define KILN_GGML_INTERFACE_H

#include <ggml-backend.h>

#define GGML_INTERFACE_VERSION	3

struct buffer_type_interface {
	const char *(*get_name)(ggml_backend_buffer_type_t type);
	ggml_backend_buffer_t (*alloc_buffer)(ggml_backend_buffer_type_t type, size_t bytes);
	ggml_backend_buffer_t (*alloc_buffer_n)(ggml_backend_buffer_type_t type,
						struct ggml_tensor **tensors, int count);
	size_t (*get_alignment)(ggml_backend_buffer_type_t type);
	size_t (*get_max_size)(ggml_backend_buffer_type_t type);
	size_t (*get_alloc_size)(ggml_backend_buffer_type_t type, const struct ggml_tensor *tensor);
	size_t (*get_alloc_size_n)(ggml_backend_buffer_type_t type, struct ggml_tensor **tensors,
				   int count);
	bool (*is_host)(ggml_backend_buffer_type_t type);
};

struct ggml_backend_buffer_type {
	struct buffer_type_interface iface;
	ggml_backend_dev_t device;
	void *context;
};

struct buffer_interface {
	void (*free_buffer)(ggml_backend_buffer_t buffer);
	void *(*get_base)(ggml_backend_buffer_t buffer);
	enum ggml_status (*init_tensor)(ggml_backend_buffer_t buffer, struct ggml_tensor *tensor);
	void (*memset_tensor)(ggml_backend_buffer_t buffer, struct ggml_tensor *tensor,
			      uint8_t value, size_t offset, size_t bytes);
	void (*set_tensor)(ggml_backend_buffer_t buffer, struct ggml_tensor *tensor,
			   const void *data, size_t offset, size_t bytes);
	void (*get_tensor)(ggml_backend_buffer_t buffer, const struct ggml_tensor *tensor,
			   void *data, size_t offset, size_t bytes);
	void (*set_tensor_2d)(ggml_backend_buffer_t buffer, struct ggml_tensor *tensor,
			      const void *data, size_t offset, size_t bytes, size_t copies,
			      size_t stride_tensor, size_t stride_data);
	void (*get_tensor_2d)(ggml_backend_buffer_t buffer, const struct ggml_tensor *tensor,
			      void *data, size_t offset, size_t bytes, size_t copies,
			      size_t stride_tensor, size_t stride_data);
	bool (*cpy_tensor)(ggml_backend_buffer_t buffer, const struct ggml_tensor *src,
			   struct ggml_tensor *dst);
	void (*clear)(ggml_backend_buffer_t buffer, uint8_t value);
	void (*reset)(ggml_backend_buffer_t buffer);
};

/* Made and freed by ggml_backend_buffer_init() and ggml_backend_buffer_free() */
struct ggml_backend_buffer {
	struct buffer_interface iface;
	ggml_backend_buffer_type_t type;
	void *context;
	size_t bytes;
	enum ggml_backend_buffer_usage usage;
};

ggml_backend_buffer_t ggml_backend_buffer_init(ggml_backend_buffer_type_t type,
					       struct buffer_interface iface, void *context,
					       size_t bytes);

struct stream_interface {
	const char *(*get_name)(ggml_backend_t backend);
	void (*free)(ggml_backend_t backend);
	void (*set_tensor_async)(ggml_backend_t backend, struct ggml_tensor *tensor,
				 const void *data, size_t offset, size_t bytes);
	void (*get_tensor_async)(ggml_backend_t backend, const struct ggml_tensor *tensor,
				 void *data, size_t offset, size_t bytes);
	void (*set_tensor_2d_async)(ggml_backend_t backend, struct ggml_tensor *tensor,
				    const void *data, size_t offset, size_t bytes, size_t copies,
				    size_t stride_tensor, size_t stride_data);
	void (*get_tensor_2d_async)(ggml_backend_t backend, const struct ggml_tensor *tensor,
				    void *data, size_t offset, size_t bytes, size_t copies,
				    size_t stride_tensor, size_t stride_data);
	bool (*cpy_tensor_async)(ggml_backend_t from, ggml_backend_t to,
				 const struct ggml_tensor *src, struct ggml_tensor *dst);
	void (*synchronize)(ggml_backend_t backend);
	ggml_backend_graph_plan_t (*graph_plan_create)(ggml_backend_t backend,
						       const struct ggml_cgraph *graph);
	void (*graph_plan_free)(ggml_backend_t backend, ggml_backend_graph_plan_t plan);
	void (*graph_plan_update)(ggml_backend_t backend, ggml_backend_graph_plan_t plan,
				  const struct ggml_cgraph *graph);
	enum ggml_status (*graph_plan_compute)(ggml_backend_t backend,
					       ggml_backend_graph_plan_t plan);
	enum ggml_status (*graph_compute)(ggml_backend_t backend, struct ggml_cgraph *graph);
	void (*event_record)(ggml_backend_t backend, ggml_backend_event_t event);
	void (*event_wait)(ggml_backend_t backend, ggml_backend_event_t event);
	void (*graph_optimize)(ggml_backend_t backend, struct ggml_cgraph *graph, void *params);
};

struct ggml_backend {
	ggml_guid_t guid;
	struct stream_interface iface;
	ggml_backend_dev_t device;
	void *context;
};

struct ggml_backend_event {
	ggml_backend_dev_t device;
	void *context;
};

struct device_interface {
	const char *(*get_name)(ggml_backend_dev_t dev);
	const char *(*get_description)(ggml_backend_dev_t dev);
	void (*get_memory)(ggml_backend_dev_t dev, size_t *free, size_t *total);
	enum ggml_backend_dev_type (*get_type)(ggml_backend_dev_t dev);
	void (*get_props)(ggml_backend_dev_t dev, struct ggml_backend_dev_props *props);
	ggml_backend_t (*init_backend)(ggml_backend_dev_t dev, const char *params);
	ggml_backend_buffer_type_t (*get_buffer_type)(ggml_backend_dev_t dev);
	ggml_backend_buffer_type_t (*get_host_buffer_type)(ggml_backend_dev_t dev);
	ggml_backend_buffer_t (*buffer_from_host_ptr)(ggml_backend_dev_t dev, void *at,
						      size_t bytes, size_t max_tensor_bytes);
	bool (*supports_op)(ggml_backend_dev_t dev, const struct ggml_tensor *op);
	bool (*supports_buft)(ggml_backend_dev_t dev, ggml_backend_buffer_type_t type);
	bool (*offload_op)(ggml_backend_dev_t dev, const struct ggml_tensor *op);
	ggml_backend_event_t (*event_new)(ggml_backend_dev_t dev);
	void (*event_free)(ggml_backend_dev_t dev, ggml_backend_event_t event);
	void (*event_synchronize)(ggml_backend_dev_t dev, ggml_backend_event_t event);
};

struct ggml_backend_device {
	struct device_interface iface;
	ggml_backend_reg_t reg;
	void *context;
};

struct ggml_backend_reg {
	int version;
	const char *(*get_name)(ggml_backend_reg_t reg);
	size_t (*get_device_count)(ggml_backend_reg_t reg);
	ggml_backend_dev_t (*get_device)(ggml_backend_reg_t reg, size_t index);
	void *(*get_proc_address)(ggml_backend_reg_t reg, const char *name);
	void *context;
};

/* What ggml_backend_load() looks for in a plug-in */
ggml_backend_reg_t ggml_backend_init(void);

/* The application's own log */
void ggml_log_internal(enum ggml_log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
